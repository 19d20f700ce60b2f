using System;
using System.Buffers.Binary;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>The points in the middle of plain work cost what ships nothing: no call of them is compiled.</summary>
public sealed class SchedulePointTests
{
    [Fact]
    public void No_library_calls_a_schedule_point()
    {
        foreach (Type one in (Type[])[typeof(IOperatingSystem), typeof(PageArena)])
        {
            using PEReader file = new(File.OpenRead(one.Assembly.Location));
            MetadataReader names = file.GetMetadataReader();
            Assert.DoesNotContain(names.TypeReferences, type => names.GetString(names.GetTypeReference(type).Name) == nameof(SchedulePoint));
        }

        MethodInfo here = typeof(SchedulePoint).GetMethod(nameof(SchedulePoint.Here))!;
        byte[] call = new byte[5];
        call[0] = 0x28;
        BinaryPrimitives.WriteInt32LittleEndian(call.AsSpan(1), here.MetadataToken);
        const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        MethodInfo[] methods = [.. typeof(SchedulePoint).Assembly.GetTypes().SelectMany(static type => type.GetMethods(All))];
        Assert.Contains(methods, static method => method.DeclaringType == typeof(ListHeads));
        Assert.DoesNotContain(methods, method => method.GetMethodBody()?.GetILAsByteArray() is byte[] body && body.AsSpan().IndexOf(call) >= 0);
    }
}
