using System;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Plugs the arena into ASP.NET Core.</summary>
public static class LowLevelServiceCollectionExtensions
{
    /// <summary>Kestrel's buffers, and those of whoever asks for an <see cref="IMemoryPoolFactory{T}"/> of bytes, come from one arena, whose free
    /// memory goes back to the system by itself. Kestrel's socket transport is replaced by one that also sends memory that is no array.
    /// Call it after UseKestrel, which registers its own pool anew with each call; in the other order the application refuses to start.
    /// Harmless when repeated: options are added to those before.</summary>
    /// <param name="services">The application's.</param>
    /// <param name="configure">Sets options; null: the defaults. They are checked before the server starts.</param>
    /// <returns><paramref name="services"/>.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="services"/> is null.</exception>
    public static IServiceCollection AddLowLevelMemoryPool(this IServiceCollection services, Action<LowLevelMemoryPoolOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        OptionsBuilder<LowLevelMemoryPoolOptions> options = services.AddOptions<LowLevelMemoryPoolOptions>().ValidateOnStart();
        if (configure is not null)
        {
            options.Configure(configure);
        }

        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<LowLevelMemoryPoolOptions>, LowLevelMemoryPoolOptionsValidator>());
        services.TryAddSingleton<ArenaMemoryPoolFactory>();
        services.AddSingleton<IMemoryPoolFactory<byte>>(provider => provider.GetRequiredService<ArenaMemoryPoolFactory>());
        services.AddSingleton<IConnectionListenerFactory, ArenaTransportFactory>();
        return services;
    }
}
